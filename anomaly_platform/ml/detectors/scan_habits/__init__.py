"""What is ordinary for goods: routes, hours and stays, and whose habits a code follows."""
