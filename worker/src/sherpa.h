/*
 * sherpa.h
 *	  The part of sherpa-onnx's C interface that the worker calls, version 1.13.4.
 *
 * The package that brings the library has no header. These declarations state the layout of
 * that version's structures on x86-64, checked at compile time below; SherpaOnnxGetVersionStr()
 * is compared at start, so that another version's layout is never guessed at. Every structure
 * is to be zeroed before use: zero and NULL mean the engine's default.
 */
#ifndef CAUCE_SHERPA_H
#define CAUCE_SHERPA_H

#include <stddef.h>
#include <stdint.h>

#define SHERPA_VERSION "1.13.4"

typedef struct SherpaFeature
{
	int32_t sample_rate;
	int32_t feature_dim;
} SherpaFeature;

typedef struct SherpaTransducer
{
	const char *encoder;
	const char *decoder;
	const char *joiner;
} SherpaTransducer;

typedef struct SherpaWhisper
{
	const char *encoder;
	const char *decoder;
	const char *language;
	const char *task;
	int32_t tail_paddings;
	int32_t enable_token_timestamps;
	int32_t enable_segment_timestamps;
} SherpaWhisper;

typedef struct SherpaSenseVoice
{
	const char *model;
	const char *language;
	int32_t use_itn;
} SherpaSenseVoice;

typedef struct SherpaMoonshine
{
	const char *preprocessor;
	const char *encoder;
	const char *uncached_decoder;
	const char *cached_decoder;
	const char *merged_decoder;
} SherpaMoonshine;

typedef struct SherpaFireRedAsr
{
	const char *encoder;
	const char *decoder;
} SherpaFireRedAsr;

typedef struct SherpaCanary
{
	const char *encoder;
	const char *decoder;
	const char *src_lang;
	const char *tgt_lang;
	int32_t use_pnc;
} SherpaCanary;

typedef struct SherpaFunAsrNano
{
	const char *encoder_adaptor;
	const char *llm;
	const char *embedding;
	const char *tokenizer;
	const char *system_prompt;
	const char *user_prompt;
	int32_t max_new_tokens;
	float temperature;
	float top_p;
	int32_t seed;
	const char *language;
	int32_t itn;
	const char *hotwords;
} SherpaFunAsrNano;

typedef struct SherpaQwen3Asr
{
	const char *conv_frontend;
	const char *encoder;
	const char *decoder;
	const char *tokenizer;
	int32_t max_total_len;
	int32_t max_new_tokens;
	float temperature;
	float top_p;
	int32_t seed;
	const char *hotwords;
} SherpaQwen3Asr;

typedef struct SherpaCohereTranscribe
{
	const char *encoder;
	const char *decoder;
	const char *language;
	int32_t use_punct;
	int32_t use_itn;
} SherpaCohereTranscribe;

typedef struct SherpaOfflineModel
{
	SherpaTransducer transducer;
	const char *paraformer;
	const char *nemo_ctc;
	SherpaWhisper whisper;
	const char *tdnn;
	const char *tokens;
	int32_t num_threads;
	int32_t debug;
	const char *provider;
	const char *model_type;
	const char *modeling_unit;
	const char *bpe_vocab;
	const char *telespeech_ctc;
	SherpaSenseVoice sense_voice;
	SherpaMoonshine moonshine;
	SherpaFireRedAsr fire_red_asr;
	const char *dolphin;
	const char *zipformer_ctc;
	SherpaCanary canary;
	const char *wenet_ctc;
	const char *omnilingual;
	const char *medasr;
	SherpaFunAsrNano funasr_nano;
	const char *fire_red_asr_ctc;
	SherpaQwen3Asr qwen3_asr;
	SherpaCohereTranscribe cohere_transcribe;
} SherpaOfflineModel;

typedef struct SherpaOfflineRecognizerConfig
{
	SherpaFeature feature;
	SherpaOfflineModel model;
	const char *lm;
	float lm_scale;
	const char *decoding_method;
	int32_t max_active_paths;
	const char *hotwords_file;
	float hotwords_score;
	const char *rule_fsts;
	const char *rule_fars;
	float blank_penalty;
	const char *homophone_replacer[3];
} SherpaOfflineRecognizerConfig;

typedef struct SherpaParaformer
{
	const char *encoder;
	const char *decoder;
} SherpaParaformer;

typedef struct SherpaStreamingModel
{
	SherpaTransducer transducer;
	SherpaParaformer paraformer;
	const char *zipformer2_ctc;
	const char *tokens;
	int32_t num_threads;
	const char *provider;
	int32_t debug;
	const char *model_type;
	const char *modeling_unit;
	const char *bpe_vocab;
	const char *tokens_buf;
	int32_t tokens_buf_size;
	const char *nemo_ctc;
	const char *t_one_ctc;
} SherpaStreamingModel;

typedef struct SherpaStreamingRecognizerConfig
{
	SherpaFeature feature;
	SherpaStreamingModel model;
	const char *decoding_method;
	int32_t max_active_paths;
	int32_t enable_endpoint;
	float endpoint_rules[3];
	const char *hotwords_file;
	float hotwords_score;
	const char *fst_graph;
	int32_t fst_max_active;
	const char *rule_fsts;
	const char *rule_fars;
	float blank_penalty;
	const char *hotwords_buf;
	int32_t hotwords_buf_size;
	const char *homophone_replacer[3];
} SherpaStreamingRecognizerConfig;

/*
 * As SherpaOfflineResult; json is an object that has all of it, and "ys_probs", a list of logarithms of
 * probabilities, one a token or empty.
 */
typedef struct SherpaStreamingResult
{
	const char *text;
	const char *tokens;
	const char *const *tokens_arr;
	const float *timestamps;
	int32_t count;
	const char *json;
} SherpaStreamingResult;

/*
 * Arrays have count elements, one a token, or are NULL: times in seconds from the first sample, natural
 * logarithms of probabilities. What follows in the structure is of no use here and never touched.
 */
typedef struct SherpaOfflineResult
{
	const char *text;
	const float *timestamps;
	int32_t count;
	const char *tokens;
	const char *const *tokens_arr;
	const char *json;
	const char *lang;
	const char *emotion;
	const char *event;
	const float *durations;
	const float *ys_log_probs;
} SherpaOfflineResult;

/* Durations in seconds, window in samples. */
typedef struct SherpaVad
{
	const char *model;
	float threshold;
	float min_silence_duration;
	float min_speech_duration;
	int32_t window_size;
	float max_speech_duration;
} SherpaVad;

typedef struct SherpaVadConfig
{
	SherpaVad silero;
	int32_t sample_rate;
	int32_t num_threads;
	const char *provider;
	int32_t debug;
	SherpaVad ten;
} SherpaVadConfig;

_Static_assert(sizeof(SherpaOfflineModel) == 504, "layout of 1.13.4");
_Static_assert(sizeof(SherpaOfflineRecognizerConfig) == 608, "layout of 1.13.4");
_Static_assert(sizeof(SherpaVadConfig) == 88, "layout of 1.13.4");
_Static_assert(offsetof(SherpaOfflineResult, ys_log_probs) == 80, "layout of 1.13.4");
_Static_assert(offsetof(SherpaOfflineModel, tokens) == 96, "layout of 1.13.4");
_Static_assert(offsetof(SherpaOfflineModel, moonshine) == 176, "layout of 1.13.4");
_Static_assert(offsetof(SherpaOfflineModel, zipformer_ctc) == 240, "layout of 1.13.4");
_Static_assert(offsetof(SherpaOfflineModel, funasr_nano) == 312, "layout of 1.13.4");
_Static_assert(offsetof(SherpaOfflineModel, qwen3_asr) == 408, "layout of 1.13.4");
_Static_assert(offsetof(SherpaOfflineModel, cohere_transcribe) == 472, "layout of 1.13.4");
_Static_assert(offsetof(SherpaOfflineRecognizerConfig, decoding_method) == 528, "layout of 1.13.4");
_Static_assert(sizeof(SherpaStreamingModel) == 136, "layout of 1.13.4");
_Static_assert(sizeof(SherpaStreamingRecognizerConfig) == 272, "layout of 1.13.4");
_Static_assert(offsetof(SherpaStreamingModel, t_one_ctc) == 128, "layout of 1.13.4");
_Static_assert(offsetof(SherpaStreamingRecognizerConfig, decoding_method) == 144,
			   "layout of 1.13.4");
_Static_assert(sizeof(SherpaStreamingResult) == 48, "layout of 1.13.4");

typedef struct SherpaOnnxOfflineRecognizer SherpaOnnxOfflineRecognizer;
typedef struct SherpaOnnxOfflineStream SherpaOnnxOfflineStream;
typedef struct SherpaOnnxOnlineRecognizer SherpaOnnxOnlineRecognizer;
typedef struct SherpaOnnxOnlineStream SherpaOnnxOnlineStream;
typedef struct SherpaOnnxVoiceActivityDetector SherpaOnnxVoiceActivityDetector;

extern const char *SherpaOnnxGetVersionStr(void);

extern const SherpaOnnxOfflineRecognizer *
SherpaOnnxCreateOfflineRecognizer(const SherpaOfflineRecognizerConfig *config);
extern void SherpaOnnxDestroyOfflineRecognizer(const SherpaOnnxOfflineRecognizer *recognizer);
extern const SherpaOnnxOfflineStream *
SherpaOnnxCreateOfflineStream(const SherpaOnnxOfflineRecognizer *recognizer);
extern void SherpaOnnxDestroyOfflineStream(const SherpaOnnxOfflineStream *stream);
extern void SherpaOnnxAcceptWaveformOffline(const SherpaOnnxOfflineStream *stream,
											int32_t sample_rate, const float *samples, int32_t n);
extern void SherpaOnnxDecodeOfflineStream(const SherpaOnnxOfflineRecognizer *recognizer,
										  const SherpaOnnxOfflineStream *stream);
extern const SherpaOfflineResult *
SherpaOnnxGetOfflineStreamResult(const SherpaOnnxOfflineStream *stream);
extern void SherpaOnnxDestroyOfflineRecognizerResult(const SherpaOfflineResult *result);

extern const SherpaOnnxOnlineRecognizer *
SherpaOnnxCreateOnlineRecognizer(const SherpaStreamingRecognizerConfig *config);
extern void SherpaOnnxDestroyOnlineRecognizer(const SherpaOnnxOnlineRecognizer *recognizer);
extern const SherpaOnnxOnlineStream *
SherpaOnnxCreateOnlineStream(const SherpaOnnxOnlineRecognizer *recognizer);
extern void SherpaOnnxDestroyOnlineStream(const SherpaOnnxOnlineStream *stream);
extern void SherpaOnnxOnlineStreamAcceptWaveform(const SherpaOnnxOnlineStream *stream,
												 int32_t sample_rate, const float *samples,
												 int32_t n);
extern void SherpaOnnxOnlineStreamInputFinished(const SherpaOnnxOnlineStream *stream);
extern int32_t SherpaOnnxIsOnlineStreamReady(const SherpaOnnxOnlineRecognizer *recognizer,
											 const SherpaOnnxOnlineStream *stream);
extern void SherpaOnnxDecodeOnlineStream(const SherpaOnnxOnlineRecognizer *recognizer,
										 const SherpaOnnxOnlineStream *stream);
extern const SherpaStreamingResult *
SherpaOnnxGetOnlineStreamResult(const SherpaOnnxOnlineRecognizer *recognizer,
								const SherpaOnnxOnlineStream *stream);
extern void SherpaOnnxDestroyOnlineRecognizerResult(const SherpaStreamingResult *result);

extern const SherpaOnnxVoiceActivityDetector *
SherpaOnnxCreateVoiceActivityDetector(const SherpaVadConfig *config, float buffer_seconds);
extern void SherpaOnnxDestroyVoiceActivityDetector(const SherpaOnnxVoiceActivityDetector *detector);
extern void
SherpaOnnxVoiceActivityDetectorAcceptWaveform(const SherpaOnnxVoiceActivityDetector *detector,
											  const float *samples, int32_t n);
extern int32_t
SherpaOnnxVoiceActivityDetectorDetected(const SherpaOnnxVoiceActivityDetector *detector);
extern void SherpaOnnxVoiceActivityDetectorFlush(const SherpaOnnxVoiceActivityDetector *detector);
extern void SherpaOnnxVoiceActivityDetectorClear(const SherpaOnnxVoiceActivityDetector *detector);
extern void SherpaOnnxVoiceActivityDetectorReset(const SherpaOnnxVoiceActivityDetector *detector);

#endif
