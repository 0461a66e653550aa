"""The manifest of a workspace: its profiles, resolved, merged and audited."""
