"""What happens by itself: sensors that reconcile, and the daily look for restatements."""
