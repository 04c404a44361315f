"""What happens by itself: sensors that reconcile, the look for restatements, and for runs lost before they began."""
