"""The MCP server: the SDK's primitives as tools, its files as resources."""
