"""What a stream is: names, features, detectors, policies. One module per built-in stream."""
