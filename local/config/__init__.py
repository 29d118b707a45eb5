"""The configuration: schema, loading, and the published YAML."""
