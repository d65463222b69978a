#include "model/weights/expected_tensors.h"

#include <algorithm>
#include <set>
#include <span>
#include <vector>

#include "core/misfits.h"
#include "model/layer_shape.h"
#include "model/weights/quantization.h"

namespace elastron::model {

namespace {

class Expectation {
 public:
  Expectation(const SafetensorsFolder& weights, const std::optional<WeightBlocks>& fp8_blocks,
              Misfits& misfits)
      : homes_(weights.homes()), fp8_blocks_(fp8_blocks), misfits_(misfits) {}

  void of(const std::string& name, const Shape& shape, bool must_be_there = true) {
    known_.insert(name);
    const auto it = homes_.find(name);
    if (it == homes_.end()) {
      if (must_be_there) misfits_.of("missing").push_back(name);
      return;
    }
    const auto& entry = it->second->entries().at(name);
    if (!(entry.shape == shape)) {
      misfits_.of("misshapen")
          .push_back(name + " is " + entry.shape.str() + ", the config says " + shape.str());
      return;
    }
    if (!is_floating(entry.storage)) misfits_.of("misshapen").push_back(name + " holds integers");
    if (entry.storage == Storage::e4m3) of_scale(name, shape);
  }
  void nothing_else() {
    for (const auto& [name, file] : homes_) {
      if (!known_.contains(name) && !is_buffer(name)) misfits_.of("unexpected").push_back(name);
    }
  }

 private:
  // Of a tensor in FP8.
  void of_scale(const std::string& name, const Shape& shape) {
    if (!fp8_blocks_ || shape.rank() != 2) {
      misfits_.of("without a scale").push_back(name + " is " + storage_name(Storage::e4m3));
      return;
    }
    of(scale_name(name), WeightScale::shape(shape[0], shape[1], fp8_blocks_->out, fp8_blocks_->in));
  }

  const TensorHomes& homes_;
  const std::optional<WeightBlocks>& fp8_blocks_;
  Misfits& misfits_;
  std::set<std::string> known_;
};

}  // namespace

void check_tensors(const ModelConfig& c, const SafetensorsFolder& weights,
                   const std::string& folder) {
  Misfits misfits;
  Expectation expect(weights, c.fp8_blocks, misfits);
  const int64_t hidden = c.hidden_size;
  expect.of(kEmbedding, {c.vocab_size, hidden});
  for (int64_t i = 0; i < c.num_layers; ++i) {
    for (const auto& [name, shape] : layer_tensors(c, i)) expect.of(name, shape);
  }
  expect.of("model.norm.weight", {hidden});
  expect.of(kLmHead, {c.vocab_size, hidden}, /*must_be_there=*/false);
  if (c.sequence_classifier) expect.of(kScore, {1, hidden});
  expect.nothing_else();
  misfits.throw_if_any("the weights do not fit the config", folder,
                       "use weights and config.json of one model");
}

bool is_buffer(const std::string& name) { return name.ends_with(".rotary_emb.inv_freq"); }

bool same_bytes(const TensorHomes& homes, const std::string& a, const std::string& b,
                const OnSlice& on_slice) {
  const SafetensorsFile &in_a = *homes.at(a), &in_b = *homes.at(b);
  const auto &entry_a = in_a.entries().at(a), &entry_b = in_b.entries().at(b);
  if (!(entry_a.shape == entry_b.shape) || entry_a.storage != entry_b.storage) return false;
  constexpr uint64_t kPiece = uint64_t(4) << 20;
  std::vector<std::byte> bytes_a(kPiece), bytes_b(kPiece);
  const uint64_t bytes = entry_a.end - entry_a.begin;
  for (uint64_t at = 0; at < bytes; at += kPiece) {
    const auto size = size_t(std::min(kPiece, bytes - at));
    const auto piece_a = std::span(bytes_a).first(size), piece_b = std::span(bytes_b).first(size);
    in_a.read_raw(entry_a, at, piece_a);
    in_b.read_raw(entry_b, at, piece_b);
    if (!std::ranges::equal(piece_a, piece_b)) return false;
    if (on_slice) on_slice();
  }
  return true;
}

}  // namespace elastron::model
