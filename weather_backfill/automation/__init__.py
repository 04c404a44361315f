"""What happens by itself: sensors that reconcile, the daily look for restatements, and runs that were lost before they began."""
