"""Files <-> networks: bundles, the catalogue, the Hub, conversion. The only code that opens weights."""
