"""bridge: a payment-webhook bridge that keeps attribution vendors true to the money."""

__version__ = "0.1.0"
