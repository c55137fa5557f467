//! A published track: its simulcast layers, what was lost of them and what is kept of them.
