"""What real clients send, through the gate."""
