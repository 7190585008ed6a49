"""When everything happens: queues, semaphores, DMA, collectives."""
