"""How Pelagos talks to people and disks; knows no field."""
