"""Azure Resource Manager through the SDK: find_, list_, ensure_ and delete_ functions over REST JSON."""
