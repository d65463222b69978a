# elastron_cpu_variants(LIBRARY SOURCES ...): the sources become part of the library, compiled once for the machine
# that builds (ELASTRON_NATIVE), or once per variant of processors. Then the program takes the best one for the
# machine it runs on, at its start (ops/cpu/variant.h).
#
# How: the objects of a variant are linked into one, its public functions get the variant's name behind their own,
# and everything else in it becomes local, so that nothing that was compiled for a newer processor is taken for
# something else (inline functions above all). A function's own name is a jump through a table.
set(ELASTRON_VARIANTS avx2 avx512 avx512_bf16)  # each one needs what the one before it does
set(ELASTRON_FLAGS_avx2 -march=x86-64-v3)
set(ELASTRON_FLAGS_avx512 -march=x86-64-v4)
set(ELASTRON_FLAGS_avx512_bf16 -march=x86-64-v4 -mavx512bf16 -mamx-tile -mamx-bf16)  # tiles are asked for at run time

function(elastron_cpu_variants library)
  cmake_parse_arguments(ARG "" "" "SOURCES" ${ARGN})
  if(ELASTRON_NATIVE OR ELASTRON_SANITIZE OR NOT CMAKE_CXX_COMPILER_ID STREQUAL "GNU"
     OR NOT CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64")
    target_sources(${library} PRIVATE ${ARG_SOURCES})
    return()
  endif()
  set(folder ${CMAKE_CURRENT_BINARY_DIR}/variants)
  set(arguments "")
  set(objects "")
  set(compiled "")
  foreach(variant IN LISTS ELASTRON_VARIANTS)
    set(target ${library}_${variant})
    add_library(${target} OBJECT ${ARG_SOURCES})
    target_include_directories(${target} PRIVATE $<TARGET_PROPERTY:${library},INCLUDE_DIRECTORIES>)
    target_compile_definitions(${target} PRIVATE $<TARGET_PROPERTY:${library},COMPILE_DEFINITIONS>)
    target_link_libraries(${target} PRIVATE $<TARGET_PROPERTY:${library},LINK_LIBRARIES>)
    elastron_flags(${target} ${ELASTRON_FLAGS_${variant}} -fno-gnu-unique)  # unique symbols cannot be made local
    list(APPEND arguments --variant ${variant} $<TARGET_OBJECTS:${target}>)
    list(APPEND objects ${folder}/${variant}.o)
    list(APPEND compiled $<TARGET_OBJECTS:${target}>)
  endforeach()
  list(APPEND objects ${folder}/dispatch.o)
  add_custom_command(OUTPUT ${objects}
    COMMAND ${CMAKE_COMMAND} -E env LD=${CMAKE_LINKER} NM=${CMAKE_NM} OBJCOPY=${CMAKE_OBJCOPY} CXX=${CMAKE_CXX_COMPILER}
      ${PROJECT_SOURCE_DIR}/cmake/link_variants.sh ${folder} ${arguments}
    DEPENDS ${PROJECT_SOURCE_DIR}/cmake/link_variants.sh ${compiled}
    COMMENT "Linking the variants of ${library}" COMMAND_EXPAND_LISTS VERBATIM)
  set_source_files_properties(${objects} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
  target_sources(${library} PRIVATE ${objects})
  target_compile_definitions(${library} PRIVATE ELASTRON_CPU_VARIANTS=1)
endfunction()
