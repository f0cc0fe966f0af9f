"""HTTP itself: connections, requests, bodies, replies, XML, the access log. Knows no verb."""
