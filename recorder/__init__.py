"""The recorder: receives records over OTLP, joins outcomes, and keeps them in a Parquet trace store."""
