"""The commands, one file each: plan, run, conclude."""
