"""Running jobs in child processes: what can be killed, limited, and can die without taking anything along."""
