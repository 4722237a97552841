// Prints the logits that llama.cpp gives after each token of a list, as little-endian f32, on standard output.
//
//   logits MODEL ID ID ID ...
//
// Weights as they are in the file, f32 cache, no flash attention, one thread: what `reference` is held against.
#include "llama.h"
#include <cstdio>
#include <cstdlib>
#include <vector>

int main(int argc, char ** argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: logits MODEL ID...\n");
        return 2;
    }
    llama_log_set([](ggml_log_level level, const char * text, void *) {
        if (level == GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
    }, nullptr);
    llama_backend_init();
    llama_model_params model_params = llama_model_default_params();
    model_params.n_gpu_layers = 0;
    llama_model * model = llama_model_load_from_file(argv[1], model_params);
    if (!model) return 1;
    const int count = argc - 2;
    llama_context_params params = llama_context_default_params();
    params.n_ctx = 512;
    params.n_batch = params.n_ubatch = 512;
    params.n_threads = params.n_threads_batch = 1;
    params.type_k = params.type_v = GGML_TYPE_F32;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    llama_context * context = llama_init_from_model(model, params);
    if (!context) return 1;
    llama_batch batch = llama_batch_init(count, 0, 1);
    for (int i = 0; i < count; i++) {
        batch.token[i] = atoi(argv[2 + i]);
        batch.pos[i] = i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = 1;
    }
    batch.n_tokens = count;
    const bool encoder = getenv("EMBEDDINGS") != nullptr;
    if (encoder) {
        llama_set_embeddings(context, true);
        if (llama_encode(context, batch)) return 1;
    } else if (llama_decode(context, batch)) {
        return 1;
    }
    const int width = encoder ? llama_model_n_embd(model) : llama_vocab_n_tokens(llama_model_get_vocab(model));
    for (int i = 0; i < count; i++) {
        const float * row = encoder ? llama_get_embeddings_ith(context, i) : llama_get_logits_ith(context, i);
        fwrite(row, sizeof(float), width, stdout);
    }
    return 0;
}
