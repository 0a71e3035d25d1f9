"use strict";

// A large photograph is scaled down before it is sent: a network wants few pixels, and a telephone's connection is slow.

const MOST_PIXELS = 4e6; // that are sent
const MOST_SIDE = 16384; // pixels of a side that every browser can draw
const QUALITY = 0.95; // of the JPEG that is sent instead of a larger file

const ONLY_HERE = /hei[cf](-sequence)?$/i; // types and names of what some browsers read, and the service does not

/**
 * The file itself, or the bytes of a smaller JPEG; of HEIC always a JPEG, where this browser reads it. Like the service, it turns the image upright and lays it over white.
 *
 * `picture` is an <img> that shows the file; `input` is the size that the network takes.
 */
async function scaledDown(file, picture, input) {
  try {
    await picture.decode();
  } catch {
    return file; // a browser does not read every format that the service reads, and the service says what is wrong
  }
  const { naturalWidth, naturalHeight } = picture; // upright, as drawImage draws it
  const needed = 2 * Math.max(input?.height ?? 0, input?.width ?? 0); // pixels of the shorter side, for a sharp image
  const most = Math.sqrt(MOST_PIXELS / (naturalWidth * naturalHeight));
  const scale = Math.min(1, Math.max(most, needed / Math.min(naturalWidth, naturalHeight)));
  const isForeign = ONLY_HERE.test(file.type || file.name || "");
  if ((scale >= 1 && !isForeign) || scale * Math.max(naturalWidth, naturalHeight) > MOST_SIDE) return file;
  const sheet = document.createElement("canvas");
  sheet.width = Math.round(naturalWidth * scale);
  sheet.height = Math.round(naturalHeight * scale);
  const context = sheet.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.fillStyle = "white";
  context.fillRect(0, 0, sheet.width, sheet.height);
  context.drawImage(picture, 0, 0, sheet.width, sheet.height);
  return bytesOf(sheet, "image/jpeg", QUALITY);
}
