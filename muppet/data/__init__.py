"""From the Hub, a mirror or twins to a memory-mapped token cache."""
