/*
 * metrics.c
 *	  Counters and their text.
 */
#include "metrics.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

static const int bucketMs[METRICS_BUCKETS] = {100, 200, 400, 700, 1000, 2000, 5000, 10000};

void
MetricsLatency(Metrics *metrics, int64_t ms)
{
	int i;

	atomic_fetch_add(&metrics->latency_count, 1);
	atomic_fetch_add(&metrics->latency_ms, (long) ms);
	for (i = 0; i < METRICS_BUCKETS; i++)
	{
		if (ms <= bucketMs[i])
		{
			atomic_fetch_add(&metrics->latency_buckets[i], 1);
			return;
		}
	}
}

typedef struct Text
{
	char *text;
	size_t size;
	size_t used;
} Text;

static void __attribute__((format(printf, 2, 3))) Add(Text *text, const char *format, ...)
{
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(text->text + text->used, text->size - text->used, format, arguments);
	va_end(arguments);
	if (length > 0 && (size_t) length < text->size - text->used)
		text->used += (size_t) length;
}

static void
Counter(Text *text, const char *name, const char *labels, double value)
{
	Add(text, "cauce_worker_%s%s %.15g\n", name, labels, value);
}

static void
Describe(Text *text, const char *name, const char *type, const char *help)
{
	Add(text, "# HELP cauce_worker_%s %s\n# TYPE cauce_worker_%s %s\n", name, help, name, type);
}

static void
One(Text *text, const char *name, const char *type, const char *help, double value)
{
	Describe(text, name, type, help);
	Counter(text, name, "", value);
}

static void
Latency(Text *text, Metrics *metrics)
{
	long sum = 0;
	int i;

	Describe(text, "latency_seconds", "histogram", "From the end of speech to its commit.");
	for (i = 0; i < METRICS_BUCKETS; i++)
	{
		sum += atomic_load(&metrics->latency_buckets[i]);
		Add(text, "cauce_worker_latency_seconds_bucket{le=\"%g\"} %ld\n", bucketMs[i] / 1000.0,
			sum);
	}
	Add(text, "cauce_worker_latency_seconds_bucket{le=\"+Inf\"} %ld\n",
		atomic_load(&metrics->latency_count));
	Counter(text, "latency_seconds_sum", "", (double) atomic_load(&metrics->latency_ms) / 1e3);
	Counter(text, "latency_seconds_count", "", (double) atomic_load(&metrics->latency_count));
}

size_t
MetricsWrite(Metrics *metrics, const MetricsNow *now, char *buffer, size_t size)
{
	Text text = {.text = buffer, .size = size};

	One(&text, "streams", "gauge", "Streams that are open.", now->streams);
	One(&text, "channels", "gauge", "Channels that can be heard at a time.", now->voices);
	One(&text, "channels_free", "gauge", "Those of them that are free.", now->voices_free);
	One(&text, "waiting", "gauge", "Streams that wait for a recognizer thread.", now->waiting);
	One(&text, "backlog_bytes", "gauge", "Audio that has arrived and waits.",
		(double) now->backlog);
	One(&text, "sandbox_landlock_abi", "gauge", "The Landlock ABI in force; 0 is none.",
		now->sandbox);
	One(&text, "memory_locked", "gauge",
		"1: none of the process's memory can be swapped out; 0: none of the audio's rings.",
		now->resident);
	One(&text, "database_away", "gauge", "Streams that wait for the database.", now->away);
	One(&text, "streams_total", "counter", "Streams that were opened.",
		(double) atomic_load(&metrics->opened));
	Describe(&text, "refused_total", "counter", "Streams that were not opened, or not for long.");
	Counter(&text, "refused_total", "{reason=\"capacity\"}",
			(double) atomic_load(&metrics->refused_capacity));
	Counter(&text, "refused_total", "{reason=\"request\"}",
			(double) atomic_load(&metrics->refused_request));
	Counter(&text, "refused_total", "{reason=\"database\"}",
			(double) atomic_load(&metrics->refused_database));
	One(&text, "audio_seconds_total", "counter", "Audio that was heard, all channels.",
		(double) atomic_load(&metrics->audio_ms) / 1e3);
	One(&text, "segments_total", "counter", "Segments that were stored.",
		(double) atomic_load(&metrics->segments));
	One(&text, "alerts_total", "counter", "Alerts that were raised.",
		(double) atomic_load(&metrics->alerts));
	One(&text, "busy_seconds_total", "counter", "Processor time of the recognizer threads.",
		(double) atomic_load(&metrics->decode_us) / 1e6);
	Latency(&text, metrics);
	return text.used;
}
