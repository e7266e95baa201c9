"""What the commands do, one file each: plan, run, conclude."""
