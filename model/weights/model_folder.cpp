#include "model/weights/model_folder.h"

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "core/file/atomic_file.h"
#include "core/file/checksum.h"
#include "core/json.h"

namespace elastron::model {

namespace fs = std::filesystem;

namespace {

std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw InputError("cannot read the file", path, "use a complete model folder");
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// A shard name from an index is a plain file name: it must not leave the folder.
bool plain_file_name(const std::string& name) {
  return !name.empty() && name.front() != '.' && name.find('/') == std::string::npos &&
         name.find('\\') == std::string::npos && name.find('\0') == std::string::npos;
}

std::string list_of(const std::vector<std::string>& names) {
  constexpr size_t kShown = 4;
  std::string text;
  for (size_t i = 0; i < names.size() && i < kShown; ++i) text += (i > 0 ? ", " : "") + names[i];
  if (names.size() > kShown) text += " and " + std::to_string(names.size() - kShown) + " more";
  return text;
}

}  // namespace

ModelFolder::ModelFolder(const std::string& path) : path_(path), config_(read_model_config(path)) {
  const std::string index_path = path + "/model.safetensors.index.json";
  std::set<std::string> names;
  if (fs::exists(index_path)) {
    const auto index = parse_json_strict(read_text(index_path), index_path);
    if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
      throw InputError("'weight_map' is missing", index_path, "use a complete model folder");
    }
    for (const auto& [tensor, file] : index["weight_map"].items()) {
      if (!file.is_string() || !plain_file_name(file.get<std::string>())) {
        throw InputError("the file of tensor '" + tensor + "' is not a plain file name",
                         index_path, "use an index whose files lie in the folder");
      }
      names.insert(file.get<std::string>());
    }
  } else {
    names.insert("model.safetensors");
  }
  for (const std::string& name : names) {
    const std::string file_path = path + "/" + name;
    if (!fs::exists(file_path)) {
      throw InputError("the weight file is missing", file_path,
                       "use a complete model folder, or set model.weights: random");
    }
    files_.push_back(std::make_unique<SafetensorsFile>(file_path));
    for (const auto& [tensor, entry] : files_.back()->entries()) {
      if (!home_.emplace(tensor, files_.back().get()).second) {
        throw InputError("tensor '" + tensor + "' is in two files", path,
                         "use a complete model folder");
      }
    }
  }
}

void ModelFolder::load(const ParameterList& parameters) const {
  std::vector<std::string> missing, misshapen, unexpected;
  std::set<std::string> wanted;
  for (const Parameter* p : parameters) {
    wanted.insert(p->name);
    const auto it = home_.find(p->name);
    if (it == home_.end()) {
      missing.push_back(p->name);
      continue;
    }
    const auto& entry = it->second->entries().at(p->name);
    const bool floating = entry.storage != SafetensorsFile::Storage::i64 &&
                          entry.storage != SafetensorsFile::Storage::i32 &&
                          entry.storage != SafetensorsFile::Storage::u8;
    if (!(entry.shape == p->logical_shape)) {
      misshapen.push_back(p->name + " is " + entry.shape.str() + ", the config says " +
                          p->logical_shape.str());
    } else if (!floating) {
      misshapen.push_back(p->name + " holds integers");
    }
  }
  for (const auto& [name, file] : home_) {
    // A tied head may be stored as well; it is the embedding again.
    const bool tied_head = config_.tie_word_embeddings && name == "lm_head.weight";
    if (!wanted.contains(name) && !tied_head) unexpected.push_back(name);
  }
  if (!missing.empty() || !misshapen.empty() || !unexpected.empty()) {
    std::string what = "the weights do not fit the config:";
    if (!missing.empty()) what += " missing " + list_of(missing) + ";";
    if (!misshapen.empty()) what += " misshapen " + list_of(misshapen) + ";";
    if (!unexpected.empty()) what += " unexpected " + list_of(unexpected) + ";";
    what.pop_back();
    throw InputError(what, path_, "use weights and config.json of one model");
  }
  for (Parameter* p : parameters) {
    home_.at(p->name)->read(p->name, p->logical_shape, p->partition, p->value);
    if (p->trainable && p->master.raw() != p->value.raw()) {
      home_.at(p->name)->read(p->name, p->logical_shape, p->partition, p->master);
    }
  }
}

std::string ModelFolder::fingerprint() const {
  Checksum sum;
  for (const int64_t v :
       {config_.hidden_size, config_.intermediate_size, config_.num_layers, config_.q_heads,
        config_.kv_heads, config_.head_dim, config_.vocab_size,
        int64_t(config_.tie_word_embeddings)}) {
    sum.add(v);
  }
  sum.add(std::to_string(config_.rope_theta) + " " + std::to_string(config_.rms_norm_eps * 1e9));
  for (const auto& [name, file] : home_) {
    const auto& entry = file->entries().at(name);
    sum.add(name);
    sum.add(entry.shape.str());
    sum.add(int64_t(entry.storage));
    sum.add(file->bytes(entry));
  }
  return sum.digest();
}

void write_model_folder(const std::string& folder, const std::string& like,
                        const std::map<std::string, Tensor>& tensors) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    throw InputError("cannot make the folder: " + error.message(), folder,
                     "check output.dir and its permissions");
  }
  write_safetensors(folder + "/model.safetensors", tensors, {{"format", "pt"}});
  for (const char* name : {"config.json", "tokenizer.json", "tokenizer_config.json",
                           "generation_config.json", "special_tokens_map.json"}) {
    const std::string from = like + "/" + name;
    if (fs::exists(from)) write_text_atomically(folder + "/" + name, read_text(from));
  }
}

}  // namespace elastron::model
