"""Lambda, ECS on Fargate and EventBridge."""
