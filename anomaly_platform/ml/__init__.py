"""The library: frames and arrays in, frames and arrays out; it knows no Dagster, no database."""
