//! Offer → answer. SDP text stays in here; out come plain values ([`crate::negotiated`]).
