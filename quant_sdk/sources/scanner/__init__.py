"""TradingView's scanner: scanner files in their YAML dialect, and the client that asks.

`file.read_scanner` reads a file, `query.transform_query` puts it into requests,
`client.ScannerClient` makes them, `selection.run_scanner` does all of it for one file.
"""
