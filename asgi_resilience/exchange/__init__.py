"""The staged timeout of one request: its stages, and how they run on asyncio and on trio."""
