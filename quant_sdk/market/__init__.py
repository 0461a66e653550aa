"""A market for demo and tests: seeded synthetic prices behind the API of an exchange and a scanner.

`market.Market` answers in this process, `server.MarketServer` on this machine's loopback. Nothing
in it was ever traded.
"""
