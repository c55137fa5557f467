//! A subscriber's slot: rewriting, choice of layer, retransmission, sender reports.
