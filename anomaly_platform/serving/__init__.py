"""The scoring service: HTTP and MQTT in front of the models that serve."""
