"""Where results go: the Kafka publisher, and what it needs of a producer."""
