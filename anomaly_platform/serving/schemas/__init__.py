"""What goes into the API and comes out of it: a module per subject, strict and with examples."""
