"""Where records come from: Kafka, WebSockets and other sources, one file each.

A source turns what it reads into :class:`service.events.RecordBatch` values and sends them into
its pipeline's channel.  It learns of progress only through the batches' acknowledgements.
"""
