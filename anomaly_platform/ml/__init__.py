"""The library: frames and arrays in, frames and arrays out. Nothing here knows Dagster or a database."""
