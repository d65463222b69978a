#include "model/weights/model_folder.h"

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <set>

#include "core/file/atomic_file.h"
#include "core/file/checksum.h"
#include "core/file/exists.h"
#include "core/json.h"
#include "core/log.h"
#include "core/misfits.h"
#include "model/quantised_parameter.h"
#include "model/weights/expected_tensors.h"
#include "model/weights/quantization.h"
#include "model/weights/rope_settings.h"
#include "ops/elementwise.h"

namespace elastron::model {

namespace fs = std::filesystem;

namespace {

constexpr size_t kLongestText = size_t(64) << 20;

// Says how far loading is, every few seconds.
class LoadProgress {
 public:
  explicit LoadProgress(const ParameterList& parameters) {
    for (const Parameter* p : parameters) total_ += stored_bytes(*p);
  }
  ~LoadProgress() {
    if (seconds(start_) > kEvery) say();
  }
  void add(size_t bytes) {
    done_ += bytes;
    if (seconds(said_) < kEvery) return;
    say();
    said_ = Clock::now();
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr double kEvery = 3;  // seconds
  static double seconds(Clock::time_point since) {
    return std::chrono::duration<double>(Clock::now() - since).count();
  }
  void say() const {
    log_info("loading weights: {:.2f} of {:.2f} GB, {:.2f} GB/s", double(done_) * 1e-9,
             double(total_) * 1e-9, double(done_) * 1e-9 / seconds(start_));
  }

  size_t total_ = 0, done_ = 0;
  Clock::time_point start_ = Clock::now(), said_ = start_;
};

}  // namespace

ModelFolder::ModelFolder(const std::string& path, const RopeOverride& rope, OnSlice on_slice)
    : path_(path),
      config_(read_model_config(path, rope)),
      weights_(path),
      on_slice_(std::move(on_slice)) {
  check_tensors(config_, weights_, path_);
  // As the transformers library does: what is stored counts, not what the config says of it.
  if (!config_.tie_word_embeddings || !weights_.homes().contains(kLmHead)) return;
  if (same_bytes(weights_.homes(), kEmbedding, kLmHead, on_slice_)) return;
  config_.tie_word_embeddings = false;
  log_warning_once(path_ +
                   ": config.json ties the LM head to the embedding, but lm_head.weight is another "
                   "tensor: it is used as it is (tie_word_embeddings: false says so)");
}

WeightScale ModelFolder::scale_of(const std::string& name) const {
  const TensorHomes& homes = weights_.homes();
  if (homes.at(name)->entries().at(name).storage != Storage::e4m3) return {};
  const std::string scale = scale_name(name);
  const SafetensorsFile& file = *homes.at(scale);
  const Shape& shape = file.entries().at(scale).shape;
  WeightScale read{.values = Tensor::empty(shape, DType::f32, host_device()),
                   .out_block = config_.fp8_blocks->out,
                   .in_block = config_.fp8_blocks->in};
  file.read(scale, shape, {}, read.values, on_slice_);
  return read;
}

std::vector<std::string> ModelFolder::weight_names() const {
  std::vector<std::string> names;
  for (const auto& [name, file] : weights_.homes()) {
    if (is_buffer(name) || is_again(name) || is_scale(name)) continue;
    names.push_back(name);
  }
  return names;
}

Tensor ModelFolder::read(const std::string& name, Device& device) const {
  const auto it = weights_.homes().find(name);
  if (it == weights_.homes().end()) {
    throw InputError("tensor '" + name + "' is missing", path_, "use a complete folder");
  }
  const SafetensorsEntry& entry = it->second->entries().at(name);
  Tensor out = Tensor::empty(entry.shape, dtype_of_storage(entry.storage), device);
  it->second->read(name, entry.shape, {}, out, on_slice_, scale_of(name));
  return out;
}

bool ModelFolder::load_quantised(Parameter& p, const SafetensorsFile& file,
                                 const WeightScale& scale) const {
  if (scale.defined()) return copy_quantised(p, file, scale, on_slice_);
  return fill_quantised(p, [&](const SafetensorsFile::Window& window, Tensor& out) {
    file.read_window(p.name, p.logical_shape, window, out, on_slice_);
  });
}

void ModelFolder::load(const ParameterList& parameters, const std::string& unused,
                       int reader) const {
  Misfits misfits;
  const TensorHomes& homes = weights_.homes();
  std::set<std::string> wanted;
  for (const Parameter* p : parameters) {
    wanted.insert(p->name);
    const auto it = homes.find(p->name);
    if (it == homes.end()) {
      misfits.of("missing").push_back(p->name);
      continue;
    }
    const auto& entry = it->second->entries().at(p->name);
    if (!(entry.shape == p->logical_shape)) {
      misfits.of("misshapen")
          .push_back(p->name + " is " + entry.shape.str() + ", the config says " +
                     p->logical_shape.str());
    } else if (!is_floating(entry.storage)) {
      misfits.of("misshapen").push_back(p->name + " holds integers");
    }
  }
  for (const auto& [name, file] : homes) {
    const bool known = wanted.contains(name) || is_again(name) || is_scale(name) ||
                       name == unused || is_buffer(name);
    if (!known) misfits.of("unexpected").push_back(name);
  }
  misfits.throw_if_any("the weights do not fit the config", path_,
                       "use weights and config.json of one model");
  LoadProgress progress(parameters);
  // By the golden ratio any numbers in a row are spread evenly, whichever ranks a machine has.
  const double turns = 0.6180339887498949 * reader;
  const size_t count = parameters.size();
  const auto first = size_t((turns - std::floor(turns)) * double(count));
  for (size_t i = 0; i < count; ++i) {
    Parameter* p = parameters[(first + i) % count];
    const SafetensorsFile& file = *homes.at(p->name);
    const WeightScale scale = scale_of(p->name);
    if (p->scale.defined()) {
      if (!load_quantised(*p, file, scale)) misfits.of("not finite:").push_back(p->name);
      progress.add(stored_bytes(*p));
      continue;
    }
    file.read(p->name, p->logical_shape, p->partition, p->value, on_slice_, scale);
    if (p->trainable && p->master.raw() != p->value.raw()) {
      file.read(p->name, p->logical_shape, p->partition, p->master, on_slice_, scale);
    }
    if (!ops::all_finite(p->value)) misfits.of("not finite:").push_back(p->name);
    progress.add(p->value.bytes());
  }
  misfits.throw_if_any("the weights hold values that are not numbers", path_,
                       "use a model folder from before its training went wrong, or copy it again");
}

std::string ModelFolder::tensor_checksums(int part, int parts) const {
  std::string lines;
  std::vector<std::byte> buffer(size_t(4) << 20);
  int index = 0;
  for (const auto& [name, file] : weights_.homes()) {
    // Whether a tied head is stored as well says nothing about the model.
    if (is_again(name) || is_buffer(name)) continue;
    if (index++ % parts != part) continue;
    const auto& entry = file->entries().at(name);
    Checksum sum;
    sum.add(name);
    sum.add(storage_name(entry.storage));
    sum.add(int64_t(entry.shape.rank()));
    for (const int64_t extent : entry.shape.extents()) sum.add(extent);
    const uint64_t bytes = entry.end - entry.begin;
    for (uint64_t at = 0; at < bytes; at += buffer.size()) {
      const std::span<std::byte> piece(buffer.data(),
                                       size_t(std::min<uint64_t>(buffer.size(), bytes - at)));
      file->read_raw(entry, at, piece);
      sum.add(std::span<const std::byte>(piece));
      if (on_slice_) on_slice_();
    }
    lines += sum.digest() + "\n";
  }
  return lines;
}

namespace {

// What a scaling says, so that no two run together. Plain and llama3 ones have no name, as before
// there were others: fingerprints of stored checkpoints go on to hold.
struct ScalingSum {
  Checksum& sum;

  void operator()(std::monostate) const {}
  void operator()(const ops::Llama3RopeScaling& s) const {
    add({s.factor, s.low_freq_factor, s.high_freq_factor, s.original_max_position});
  }
  void operator()(const ops::LinearRopeScaling& s) const {
    sum.add(std::string_view("linear"));
    add({s.factor});
  }
  void operator()(const ops::YarnRopeScaling& s) const {
    sum.add(std::string_view("yarn"));
    add({s.factor, s.original_max_position, s.attention_factor, s.beta_fast, s.beta_slow,
         double(s.truncate)});
  }

  void add(std::initializer_list<double> values) const {
    for (const double v : values) sum.add(std::bit_cast<int64_t>(v));
  }
};

}  // namespace

std::string rope_fingerprint(const ops::RopeRule& rule) {
  Checksum sum;
  sum.add(std::bit_cast<int64_t>(rule.theta));
  std::visit(ScalingSum{sum}, rule.scaling);
  return sum.digest();
}

std::string ModelFolder::fingerprint(std::span<const std::string> checksums) const {
  Checksum sum;
  sum.add(config_.architecture);
  for (const int64_t v :
       {config_.hidden_size, config_.intermediate_size, config_.num_layers, config_.q_heads,
        config_.kv_heads, config_.head_dim, config_.vocab_size,
        int64_t(config_.tie_word_embeddings), std::bit_cast<int64_t>(config_.rope.theta),
        std::bit_cast<int64_t>(config_.rms_norm_eps)}) {
    sum.add(v);
  }
  std::visit(ScalingSum{sum}, config_.rope.scaling);
  if (const auto& e = config_.experts) {
    for (const int64_t v : {e->count, e->per_token, e->width, int64_t(e->normalise)}) sum.add(v);
    for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
      sum.add(int64_t(config_.has_experts(layer)));
    }
  }
  if (config_.fp8_blocks) {
    sum.add(config_.fp8_blocks->out);
    sum.add(config_.fp8_blocks->in);
  }
  // A tensor's checksum names it, so that the parts' order does not matter once they are sorted.
  std::vector<std::string> lines;
  for (const std::string& part : checksums) {
    for (size_t at = 0, end = 0; at < part.size(); at = end + 1) {
      end = part.find('\n', at);
      lines.push_back(part.substr(at, end - at));
    }
  }
  std::ranges::sort(lines);
  for (const std::string& line : lines) sum.add(line);
  return sum.digest();
}

namespace {

// config.json of `like`, with the dtype that is written, the changes and the rope scaling. What is
// written is not quantised.
std::string config_text(const std::string& like, DType dtype, const RopeOverride& rope,
                        const nlohmann::ordered_json& changes) {
  const std::string path = like + "/config.json";
  const std::string text = read_small_file(path, kLongestText);
  const ModelConfig config = parse_model_config(text, path, rope);
  const bool same_dtype = config.dtype == dtype || dtype == DType::f64;
  if (same_dtype && changes.empty() && !rope.keys && !config.fp8_blocks) return text;
  auto root = nlohmann::ordered_json(parse_json_strict(text, path));
  root.erase("quantization_config");
  if (!same_dtype) root[root.contains("dtype") ? "dtype" : "torch_dtype"] = dtype_name(dtype);
  root.update(changes);
  write_rope(root, rope, path);
  return root.dump(2) + "\n";
}

}  // namespace

void write_model_folder(const std::string& folder, const std::string& like,
                        const std::map<std::string, Tensor>& tensors, const RopeOverride& rope,
                        std::optional<DType> dtype, const nlohmann::ordered_json& changes) {
  ELASTRON_CHECK(!tensors.empty(), "a model without tensors");
  std::map<std::string, Tensor> converted = tensors;
  for (auto& [name, tensor] : converted) {
    if (dtype && tensor.dtype() != *dtype) tensor = ops::cast(tensor, *dtype);
  }
  // Everything is read before anything is written: `like` may be the folder itself.
  nlohmann::ordered_json all_changes = changes;
  // A head of its own, even if the folder's config.json called it tied.
  if (converted.contains(kLmHead) && read_model_shapes(like).tie_word_embeddings) {
    all_changes["tie_word_embeddings"] = false;
  }
  const std::string config =
      config_text(like, converted.begin()->second.dtype(), rope, all_changes);
  std::map<std::string, std::string> copies;
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "generation_config.json",
                           "special_tokens_map.json", "added_tokens.json", "vocab.json",
                           "merges.txt", "chat_template.jinja"}) {
    if (exists(like + "/" + name)) copies[name] = read_small_file(like + "/" + name, kLongestText);
  }
  make_folder(folder, ExitCode::input);
  std::error_code error;
  fs::remove(folder + "/config.json", error);
  // An index of former shards would name tensors that are not there any more.
  if (!error) fs::remove(folder + "/" + SafetensorsFolder::kIndex, error);
  if (error) {
    throw InputError("cannot write to the folder: " + error.message(), folder,
                     "check output.dir and its permissions");
  }
  sync_folder(folder);
  write_safetensors(folder + "/" + SafetensorsFolder::kWeights, converted, {{"format", "pt"}});
  for (const auto& [name, text] : copies) write_text_atomically(folder + "/" + name, text);
  write_text_atomically(folder + "/config.json", config);
}

void write_model_folder(const std::string& folder, const std::string& like,
                        const std::map<std::string, Tensor>& tensors, const RopeOverride& rope,
                        std::optional<DType> dtype) {
  write_model_folder(folder, like, tensors, rope, dtype, nlohmann::ordered_json::object());
}

}  // namespace elastron::model
