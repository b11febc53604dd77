/*
 * resampler.c
 *	  Sample rate conversion by libsoxr.
 */
#include "resampler.h"

#include <soxr.h>

#include "report.h"

Resampler *
ResamplerCreate(int rate)
{
	soxr_io_spec_t samples = soxr_io_spec(SOXR_FLOAT32_I, SOXR_FLOAT32_I);
	soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
	soxr_runtime_spec_t runtime = soxr_runtime_spec(1);
	soxr_error_t problem = NULL;
	Resampler *resampler = soxr_create(rate, MODEL_RATE, 1, &problem, &samples, &quality, &runtime);

	if (problem != NULL || resampler == NULL)
	{
		Report("cannot resample from %d Hz: %s", rate, problem == NULL ? "no memory" : problem);
		soxr_delete(resampler);
		return NULL;
	}
	return resampler;
}

bool
ResamplerRun(Resampler *resampler, const float *input, size_t size, size_t *used, float *output,
			 size_t capacity, size_t *made)
{
	return soxr_process(resampler, input, size, used, output, capacity, made) == NULL;
}

void
ResamplerDestroy(Resampler *resampler)
{
	soxr_delete(resampler);
}
