#include "data/leading_ids.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/file/input_file.h"
#include "core/json.h"
#include "data/tokenizer/file.h"

namespace elastron::data {

namespace {

using nlohmann::json;

// The ids of a special token of a "TemplateProcessing".
void append_ids(const TokenizerFile& file, const json& step, const std::string& token,
                std::vector<int32_t>& ids) {
  const json& known = file.member(step, "post_processor.special_tokens", "special_tokens");
  if (!known.is_object() || !known.contains(token)) {
    file.fail(fmt::format("'post_processor' has no ids of '{}'", token));
  }
  const json& list = file.member(known[token], "post_processor.special_tokens.ids", "ids");
  if (!list.is_array()) file.fail("'post_processor.special_tokens' has ids that are no list");
  for (const json& id : list) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > uint64_t(INT32_MAX)) {
      file.fail("'post_processor.special_tokens' has an id that is no token's");
    }
    ids.push_back(id.get<int32_t>());
  }
}

void append_of_step(const TokenizerFile& file, const json& step, std::vector<int32_t>& ids) {
  const std::string type = file.type_of(step, "post_processor");
  if (type == "null" || type == "ByteLevel") return;
  if (type == "Sequence") {
    const json& steps = file.member(step, "post_processor.processors", "processors");
    if (!steps.is_array()) file.fail("'post_processor.processors' is no list");
    for (const json& each : steps) append_of_step(file, each, ids);
    return;
  }
  if (type != "TemplateProcessing") {
    file.unsupported("post_processor", type, "ByteLevel, TemplateProcessing and Sequence");
  }
  const json& pieces = file.member(step, "post_processor.single", "single");
  if (!pieces.is_array()) file.fail("'post_processor.single' is no list");
  bool text_is_past = false;
  for (const json& piece : pieces) {
    if (piece.is_object() && piece.contains("Sequence")) {
      text_is_past = true;
      continue;
    }
    const json& token = file.member(piece, "post_processor.single", "SpecialToken");
    if (text_is_past) {
      file.unsupported("post_processor", "a token behind the text", "tokens before it");
    }
    append_ids(file, step, file.text(token, "post_processor.single.SpecialToken", "id"), ids);
  }
}

}  // namespace

std::vector<int32_t> leading_ids(const std::string& folder) {
  const std::string path = folder + "/tokenizer.json";
  const json root = parse_json_strict(read_small_file(path, JsonLimits().max_bytes), path);
  const TokenizerFile file(root, path);
  std::vector<int32_t> ids;
  append_of_step(file, file.top("post_processor"), ids);
  return ids;
}

void lead(std::vector<int32_t>& ids, const std::vector<int32_t>& leading) {
  const bool begun =
      ids.size() >= leading.size() && std::equal(leading.begin(), leading.end(), ids.begin());
  if (!begun) ids.insert(ids.begin(), leading.begin(), leading.end());
}

}  // namespace elastron::data
