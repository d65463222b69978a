// A batch's sequences as cuDNN wants them, on the device: lengths, and where each begins in tensors
// of each token stride. On a meta device it takes the same memory and the same copy.
#pragma once
#include <cstring>
#include <vector>

#include "core/tensor.h"
#include "ops/attention/args.h"
#include "ops/backend.h"
#include "ops/cuda/attention/full_attention.h"
#include "ops/cuda/attention/library_batch.h"

namespace elastron::ops::cuda {

// Rows of a tensor that is read or written. A dummy reads the last token and its key, which are
// there, and writes to a row of its own behind the others.
enum class PackedRows : uint8_t { read_tokens, read_keys, written_tokens, written_keys };

struct PackedTensor {
  PackedRows rows;
  int64_t stride;  // elements from row to row
  bool operator==(const PackedTensor&) const = default;
};

// What a forward and a backward call read and write; q, k, v, the output and its gradient in place.
inline std::vector<PackedTensor> forward_tensors(const AttentionArgs& args) {
  using enum PackedRows;
  return {{read_tokens, args.q.token_stride},
          {read_keys, args.k.token_stride},
          {read_keys, args.v.token_stride},
          {written_tokens, args.shape.q_heads * args.shape.head_dim},
          {written_tokens, args.shape.q_heads},
          {written_tokens, args.shape.group()}};
}
inline std::vector<PackedTensor> gradient_tensors(const AttentionBackwardArgs& args) {
  using enum PackedRows;
  return {{read_tokens, args.q.token_stride},
          {read_keys, args.k.token_stride},
          {read_keys, args.v.token_stride},
          {read_tokens, args.d_out.token_stride},
          {read_tokens, args.shape.q_heads * args.shape.head_dim},
          {read_tokens, args.shape.group()},
          {written_tokens, args.shape.group() * args.shape.head_dim},
          {written_keys, args.shape.head_dim}};
}

class LibrarySequences {
 public:
  // `tensors`: all that packed() will be asked for. token_rows, key_rows: rows of what is written,
  // without those of dummies. Some sequence has tokens.
  LibrarySequences(const Varlen& varlen, std::vector<PackedTensor> tensors, int64_t token_rows,
                   int64_t key_rows, Device& device)
      : batch_(library_batch(varlen)), tensors_(std::move(tensors)) {
    std::vector<int32_t> numbers, lengths, key_lengths;
    std::vector<int64_t> tokens, keys;
    for (int64_t s = 0; s < varlen.sequences(); ++s) {
      if (varlen.length(s) == 0) continue;
      numbers.push_back(int32_t(s));
      lengths.push_back(int32_t(varlen.length(s)));
      key_lengths.push_back(int32_t(varlen.key_length(s)));
      tokens.push_back(varlen.begin(s));
      keys.push_back(varlen.key_begin(s));
    }
    const auto more = size_t(batch_.dummies);
    numbers.insert(numbers.end(), more, numbers.back());
    lengths.insert(lengths.end(), more, 1);
    key_lengths.insert(key_lengths.end(), more, 1);
    std::vector<int64_t> words;
    for (const PackedTensor& t : tensors_) {
      const bool of_keys = t.rows == PackedRows::read_keys || t.rows == PackedRows::written_keys;
      const bool read = t.rows == PackedRows::read_tokens || t.rows == PackedRows::read_keys;
      const int64_t end = of_keys ? varlen.keys() : varlen.tokens();
      const int64_t rows = of_keys ? key_rows : token_rows;
      for (const int64_t begin : of_keys ? keys : tokens) words.push_back(begin * t.stride);
      for (int64_t d = 0; d < batch_.dummies; ++d) {
        words.push_back((read ? end - 1 : rows + d) * t.stride);
      }
      words.push_back((read ? end : rows + batch_.dummies) * t.stride);
    }
    numbers_at_ = words.size();
    numbers.insert(numbers.end(), lengths.begin(), lengths.end());
    numbers.insert(numbers.end(), key_lengths.begin(), key_lengths.end());
    words.resize(words.size() + (numbers.size() + 1) / 2);
    std::memcpy(words.data() + numbers_at_, numbers.data(), numbers.size() * sizeof(int32_t));
    memory_ = on_device(std::span<const int64_t>(words), device);
  }

  const LibraryBatch& batch() const { return batch_; }
  int64_t count() const { return batch_.sequences; }
  // [count()] each, on the device: their numbers in the batch, tokens and, behind these, keys.
  const int32_t* numbers() const {
    return reinterpret_cast<const int32_t*>(static_cast<const int64_t*>(memory_.raw()) +
                                            numbers_at_);
  }
  const int32_t* lengths() const { return numbers() + count(); }
  const int32_t* key_lengths() const { return lengths() + count(); }
  PackedHeads packed(PackedRows rows, const void* data, int64_t stride) const {
    for (size_t i = 0; i < tensors_.size(); ++i) {
      if (!(tensors_[i] == PackedTensor{rows, stride})) continue;
      return {data, static_cast<const int64_t*>(memory_.raw()) + int64_t(i) * (count() + 1)};
    }
    throw LogicError("a tensor of a stride that was not announced");
  }

 private:
  LibraryBatch batch_;
  std::vector<PackedTensor> tensors_;
  size_t numbers_at_ = 0;
  Tensor memory_;
};

}  // namespace elastron::ops::cuda
