/*
 * resampler.h
 *	  One channel's samples from the rate of the stream to the rate of the models.
 */
#ifndef CAUCE_RESAMPLER_H
#define CAUCE_RESAMPLER_H

#include <stdbool.h>
#include <stddef.h>

#define MODEL_RATE 16000 /* samples a second that voice detection and recognizer take */

typedef struct soxr Resampler;

/*
 * ResamplerCreate makes a streaming resampler from rate to MODEL_RATE. Returns NULL, with a
 * report, if there is no memory.
 */
extern Resampler *ResamplerCreate(int rate);

/*
 * ResamplerRun takes up to size samples of input, *used of them, and gives at most capacity
 * samples of output. Its output is the input's in time: sample n is at n / MODEL_RATE seconds.
 * With input NULL it gives what it still holds, until it returns 0 in *made. Returns false if
 * the library fails.
 */
extern bool ResamplerRun(Resampler *resampler, const float *input, size_t size, size_t *used,
						 float *output, size_t capacity, size_t *made);

extern void ResamplerDestroy(Resampler *resampler);

#endif
