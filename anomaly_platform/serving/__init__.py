"""The scoring service: HTTP in, verdicts of the champions out.

`app` puts it together, `state` holds what lives as long as a worker, `routes` has a module per
subject, `schemas` what goes in and out, `problems` every error, `champions` the models in
service.
"""
