"""Label Studio's HTTP API: client, projects, tasks, uploads and webhooks."""
