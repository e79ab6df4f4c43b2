"""The load tester behind `nextword bench`: a closed loop of streams in one asyncio process.

It knows no terminal: the command draws what this measures.
"""
