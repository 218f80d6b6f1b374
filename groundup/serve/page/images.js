/** Image attachments: scaled down in the browser and stored as data URIs. */

const SIDE = 1024; // pixels of the longer side; models of this kind use no more
const KINDS = ["image/png", "image/jpeg", "image/webp", "image/gif"];
const SAFE = /^data:image\/(?:png|jpeg|webp);base64,[A-Za-z0-9+/]+=*$/;

/** File types that can be attached, for an input's `accept`. */
export const ACCEPT = KINDS.join(",");

/** Whether a text is a data URI that this page made; no other is shown or sent. */
export function isPicture(text) {
  return typeof text === "string" && SAFE.test(text);
}

/**
 * A file as a data URI, its longer side at most SIDE pixels; metadata (location, camera) is removed.
 * @param {Blob} file
 * @returns {Promise<string|null>} null: not an image that this browser can decode
 */
export async function picture(file) {
  if (!KINDS.includes(file.type)) return null;
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    return null;
  }
  const scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return file.type === "image/jpeg" ? canvas.toDataURL("image/jpeg", 0.9) : canvas.toDataURL("image/png");
}
