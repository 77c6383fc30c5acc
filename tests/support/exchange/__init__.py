"""Producers, consumers and routes of the exchange."""
