"""What a run shows of itself while it goes on, and what can be read of it afterwards."""
