"""Networks: plain architectures, RepNR blocks over any of them, input forms."""
