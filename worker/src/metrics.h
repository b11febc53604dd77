/*
 * metrics.h
 *	  What the process counts, for /metrics (Prometheus text format 0.0.4). Numbers only, none of them
 *	  a session's.
 */
#ifndef CAUCE_METRICS_H
#define CAUCE_METRICS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define METRICS_BUCKETS 8 /* of the latency histogram, the one without a bound left out */

typedef struct Metrics
{
	atomic_long opened; /* streams, since the start */
	atomic_long refused_capacity; /* before they opened */
	atomic_long refused_request;
	atomic_long refused_database;
	atomic_long audio_ms; /* all channels */
	atomic_long segments; /* stored */
	atomic_long alerts;
	atomic_long decode_us; /* the pool's time */
	atomic_long latency_count; /* from the end of speech to its commit */
	atomic_long latency_ms;
	atomic_long latency_buckets[METRICS_BUCKETS]; /* each alone, not added up */
} Metrics;

/* What is so at the moment, beside what has been counted. */
typedef struct MetricsNow
{
	int streams;
	int away; /* of them: those that wait for the database */
	int voices_free;
	int voices;
	int waiting; /* streams that wait for a thread */
	long backlog; /* bytes of audio that wait */
	int sandbox; /* the Landlock ABI, or 0 */
	bool resident; /* no memory can be swapped out */
} MetricsNow;

extern void MetricsLatency(Metrics *metrics, int64_t ms);

/* MetricsWrite writes the text and returns its length, at most size - 1. */
extern size_t MetricsWrite(Metrics *metrics, const MetricsNow *now, char *text, size_t size);

#define METRICS_TEXT ((size_t) 8192)

#endif
