"""What happens when it breaks, under load, and whether the service keeps its promises meanwhile."""
